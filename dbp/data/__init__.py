"""Tables, their columns, and how they become matrices and back."""
