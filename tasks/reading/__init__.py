"""Reading scans: folders, archives and files to Hounsfield units."""
