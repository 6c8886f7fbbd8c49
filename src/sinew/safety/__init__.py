"""What stands between a policy and the motors."""
