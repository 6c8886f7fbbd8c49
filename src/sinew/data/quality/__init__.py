"""What is wrong with a data set, and how good each of its episodes is."""
