"""Steps of what runs: since when, on which object, what they wait for, how they ended."""
