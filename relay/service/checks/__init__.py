"""What is wrong with a configuration beyond its text: found by what it is for."""
