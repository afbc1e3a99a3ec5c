"""What a user gives and is told: arguments, values, paths, commands in hints, rounded numbers."""
