"""What the host writes into artifact.json and a board looks for there. Imports nothing."""

MANIFEST_NAME = "artifact.json"
JOINTS_LAYOUT = "NJ3"
"""Of a whole-pose graph's output: images, joints, and x, y, score."""
MAX_SIDE = 65536
"""Of any tensor; more is a damaged file."""
