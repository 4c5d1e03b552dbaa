"""Where POIs come from: any table, Overture Places, or an extract of OpenStreetMap."""
