"""Evidence: what a job directory proves of itself (`verification`), and where two jobs part (`differences`)."""
