"""An embedded, language-conditioned table-top world with its scripted expert."""
