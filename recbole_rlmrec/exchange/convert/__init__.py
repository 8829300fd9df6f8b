"""Tables of people's own, from files, databases and data frames, as RecBole's atomic files."""
