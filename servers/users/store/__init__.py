"""All SQL of the users server: functions over a connection, so that a change of several tables is one transaction."""
