"""What lies between the ground and the file: haze, and the noise of the sensor."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from data_prep.toy_city.area import Area, Field, gaussian_field, random_stream
from data_prep.toy_city.settings import ToyCitySettings

# What a veil without end would look like (red, green, blue).
AIRLIGHT_RGB = (196.0, 204.0, 214.0)
# Optical depth falls with the wavelength, to the power of the Angstrom exponent; 1.3
# is usual for haze over land. Given relative to green.
WAVELENGTH_NM = (650.0, 550.0, 470.0)
ANGSTROM_EXPONENT = 1.3
# The veil is thicker here and thinner there: deviation of the log of its depth, and
# the distance at which that is forgotten.
LOG_DEPTH_DEVIATION = 0.45
HAZE_CORRELATION_M = 900.0


@dataclasses.dataclass(frozen=True)
class Sensing:
    """How the light of the ground arrives.

    Attributes:
        area: The mosaic's rectangle.
        seed: Seed of the city.
        haze: Mean optical depth in green light.
        thickness: Where the haze is thick, zero mean and unit variance; None without
            haze.
        sensor_noise: Deviation of the white noise in levels.
        gain: Factors of the light in red, green and blue.
        offset: Levels added to them.
    """

    area: Area
    seed: int
    haze: float
    thickness: Field | None
    sensor_noise: float
    gain: Float[np.ndarray, " 3"]
    offset: Float[np.ndarray, " 3"]

    def through_haze(
        self, light: Float[np.ndarray, "h w 3"], rows: np.ndarray, columns: np.ndarray
    ) -> Float[np.ndarray, "h w 3"]:
        """The light that is left, and the veil's own: L * t + A * (1 - t).

        Args:
            light: Light of the ground in levels.
            rows: Rows of the mosaic.
            columns: Columns of the mosaic.
        """
        if self.thickness is None:
            return light
        gsd_m = self.area.gsd_m
        north_m = self.area.size_m[1] - (rows + 0.5) * gsd_m
        grid = np.meshgrid((columns + 0.5) * gsd_m, north_m)
        points = np.stack([axis.ravel() for axis in grid], axis=1)
        uneven = self.thickness(points).reshape(light.shape[:2]).astype(np.float32)
        # The mean of exp(s * u - s**2 / 2) is 1 for normal u.
        spread = LOG_DEPTH_DEVIATION
        depth = self.haze * np.exp(spread * uneven - spread**2 / 2)
        left = np.exp(-depth[..., None] * relative_depth())
        return light * left + np.array(AIRLIGHT_RGB, np.float32) * (1 - left)

    def levels(self, light: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
        """What the sensor makes of the light, but for its noise."""
        return light * self.gain + self.offset

    def noise(
        self, corner: tuple[int, int], shape: tuple[int, ...]
    ) -> Float[np.ndarray, "h w 3"] | float:
        """White noise of the window that begins at a corner, its own everywhere."""
        if self.sensor_noise == 0:
            return 0.0
        rng = random_stream(self.seed, f"sensor noise {corner[0]} {corner[1]}")
        return self.sensor_noise * rng.standard_normal(shape, np.float32)


def make_sensing(area: Area, seed: int, settings: ToyCitySettings) -> Sensing:
    """Draws where the haze is thick."""
    haze, palette = settings.haze, settings.palette
    correlation_m = min(HAZE_CORRELATION_M, area.extent_m / 4)
    rng = random_stream(seed, "haze")
    thickness = gaussian_field(rng, area, correlation_m) if haze > 0 else None
    gain, offset = (
        np.array(bands, np.float32)
        for bands in (palette.band_gain, palette.band_offset)
    )
    return Sensing(area, seed, haze, thickness, settings.sensor_noise, gain, offset)


def relative_depth() -> Float[np.ndarray, " 3"]:
    """Optical depth of red, green and blue light, that of green being 1."""
    wavelength = np.array(WAVELENGTH_NM, np.float32)
    return (wavelength[1] / wavelength) ** ANGSTROM_EXPONENT
