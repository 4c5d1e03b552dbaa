"""What MMGR is measured against: networks and programs that others have made."""
