"""Data sets as they lie on a disk: LUNA16, LIDC-IDRI with its radiologists' XML, or any table beside scans."""
