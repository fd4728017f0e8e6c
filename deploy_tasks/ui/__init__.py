"""What people, programs and GitHub see."""
