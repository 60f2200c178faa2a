"""What feature views are made of and used for, how fresh they are, and how their values have changed."""
