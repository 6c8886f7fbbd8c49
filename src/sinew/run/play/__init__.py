"""Playing with a policy: a film of any sentence, or a page on which to say and move what one likes."""
