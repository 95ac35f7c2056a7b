"""Follows faces from frame to frame: ByteTrack over the boxes that a detector finds.

Source: Zhang et al. 2022, https://arxiv.org/abs/2110.06864, as the library `trackers` (Apache-2.0) has it. Needs the
extra `cameras`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder.detect import Detection
from lookalike.errors import BadSettings

REACH = 0.5
"""Boxes are compared with so much of a face's side around them: at few frames a second it moves by its own size."""


class FaceTracker:
    """One camera's tracks. fps: how many frames a second come; absence_s: how long a face may be gone."""

    def __init__(self, fps: float, absence_s: float) -> None:
        """Raises: BadSettings where the extra is not installed."""
        try:
            import supervision
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise BadSettings("tracking needs the extra: pip install 'lookalike[cameras]'") from error
        self._detections = supervision.Detections
        self._tracker = ByteTrackTracker(
            # The buffer is in frames at 30 a second.
            lost_track_buffer=max(1, round(30 * absence_s)),
            frame_rate=fps,
            track_activation_threshold=0.7,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=0.1,
            high_conf_det_threshold=0.6,
        )

    def follow(self, faces: Sequence[Detection]) -> list[int | None]:
        """The track of each face of the next frame, in their order; None for one that is not followed yet."""
        corners = np.array([_around(face) for face in faces], np.float32).reshape(-1, 4)
        found = self._tracker.update(
            self._detections(
                xyxy=corners,
                confidence=np.array([face.confidence for face in faces], np.float32),
                data={"place": np.arange(len(faces))},
            )
        )
        tracks: list[int | None] = [None] * len(faces)
        for place, track in zip(found.data.get("place", ()), found.tracker_id if len(found) else (), strict=True):
            if track >= 0:
                tracks[int(place)] = int(track)
        return tracks


def _around(face: Detection) -> tuple[float, float, float, float]:
    box, reach = face.box, REACH * max(face.box.width, face.box.height)
    return box.x - reach, box.y - reach, box.x + box.width + reach, box.y + box.height + reach
