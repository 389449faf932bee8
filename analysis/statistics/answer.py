"""What a test says where it has no number to give."""

ALL_ZERO = "all differences are zero"
FEW_METHODS = "fewer than two methods to compare"
ONE_CASE = "fewer than two test cases"
