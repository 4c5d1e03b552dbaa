"""What the checks and readers of POI files are told where a test changes nothing."""

SETTINGS = dict(
    crs=None,
    datum="wgs84",
    category_column="category",
    parent_column=None,
    x_column=None,
    y_column=None,
)
