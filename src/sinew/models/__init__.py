"""Networks: encoders, action heads and the policy made of them."""
