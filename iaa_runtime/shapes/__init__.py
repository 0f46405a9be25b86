"""The world of the demo model: scenes of colored shapes, what can be said about them, and how answers are scored.

Training the demo model is outside this package; scores on public benchmarks are in evaluation.
"""
