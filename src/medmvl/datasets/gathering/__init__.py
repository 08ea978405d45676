"""What the files of public data sets share: reading tables, decoding images, wording questions, collecting samples."""
