"""Jobs from the request to the datasets: what is checked, what outlives the request, and the work itself."""
