"""New York flights of 2013: will a flight that departs now arrive late?"""
