"""The world of the demo model: pictures of colored shapes, what can be said about them, and how answers are scored."""
