"""Sources of POIs: any table, Overture Places, or an extract of OpenStreetMap."""
