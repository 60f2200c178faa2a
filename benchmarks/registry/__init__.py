"""The registry beside MLflow's: versions a second, and megabytes a second in and out."""
