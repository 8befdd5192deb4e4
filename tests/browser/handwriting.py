"""Twenty digits as strokes, two of each class in different hands; 0 to 1, from the top left."""

import numpy as np


def arc(x, y, width, height, start, end):
    """Points of an ellipse; degrees from the right, clockwise as seen."""
    angles = np.radians(np.linspace(start, end, 14))
    across, down = x + width * np.cos(angles), y + height * np.sin(angles)
    return list(zip(across, down, strict=True))


def slanted(*strokes):
    """The same, leaning to the right."""
    return [[(x - 0.25 * (y - 0.5), y) for x, y in stroke] for stroke in strokes]


def figure_of_eight():
    """From the middle of the top, crossing itself: 8 in one go."""
    turns = np.linspace(0, 2 * np.pi, 28)
    return [(0.5 + 0.17 * np.sin(2 * t), 0.5 - 0.34 * np.cos(t)) for t in turns]


HANDWRITING = [
    (0, [arc(0.5, 0.5, 0.22, 0.34, -90, 270)]),
    (0, slanted(arc(0.5, 0.5, 0.17, 0.3, -60, 290))),
    (1, [[(0.5, 0.15), (0.5, 0.85)]]),
    (1, slanted([(0.5, 0.2), (0.5, 0.8)])),
    (2, [[*arc(0.5, 0.33, 0.2, 0.18, -170, 40), (0.3, 0.82), (0.74, 0.82)]]),
    (2, [[(0.3, 0.25), (0.5, 0.15), (0.68, 0.28), (0.6, 0.48), (0.3, 0.8), (0.45, 0.76),
          (0.75, 0.84)]]),
    (3, [[*arc(0.48, 0.32, 0.18, 0.17, -150, 90), *arc(0.48, 0.66, 0.21, 0.18, -90, 150)]]),
    (3, [[(0.3, 0.17), (0.68, 0.17), (0.48, 0.42), *arc(0.48, 0.62, 0.2, 0.21, -90, 150)]]),
    (4, [[(0.36, 0.15), (0.3, 0.5), (0.7, 0.5)], [(0.66, 0.15), (0.64, 0.87)]]),
    (4, [[(0.62, 0.85), (0.62, 0.15), (0.28, 0.6), (0.76, 0.6)]]),
    (5, [[(0.7, 0.17), (0.38, 0.17), (0.35, 0.45), *arc(0.47, 0.63, 0.21, 0.2, -130, 150)]]),
    (5, slanted([(0.4, 0.18), (0.38, 0.48), *arc(0.47, 0.64, 0.19, 0.18, -120, 140)],
                [(0.4, 0.18), (0.7, 0.18)])),
    (6, [[(0.62, 0.15), (0.45, 0.3), (0.36, 0.5), *arc(0.5, 0.68, 0.16, 0.17, 180, -180)]]),
    (6, slanted([(0.5, 0.14), (0.4, 0.35), *arc(0.51, 0.68, 0.16, 0.15, 190, -170)])),
    (7, [[(0.28, 0.2), (0.72, 0.2), (0.45, 0.85)]]),
    (7, [[(0.3, 0.22), (0.7, 0.18), (0.42, 0.85)], [(0.38, 0.5), (0.66, 0.5)]]),
    (8, [[*arc(0.5, 0.33, 0.15, 0.16, 90, 450), *arc(0.5, 0.67, 0.18, 0.18, -90, 270)]]),
    (8, slanted(figure_of_eight())),
    (9, [[*arc(0.5, 0.34, 0.17, 0.17, 0, -360), (0.64, 0.6), (0.58, 0.85)]]),
    (9, [[*arc(0.5, 0.32, 0.16, 0.15, -20, -350), (0.66, 0.3), (0.66, 0.86)]]),
]  # fmt: skip
