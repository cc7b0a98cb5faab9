"""What others have written, or what is written here as they formulate it, for comparison: never part of dawm."""
