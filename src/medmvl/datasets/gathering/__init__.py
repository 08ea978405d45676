"""What the files of public data sets share: reading tables, decoding pictures, wording questions, collecting samples."""
