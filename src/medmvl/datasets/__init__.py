"""Data sets on disk: public ones and your own, their files of samples, splits and tables. Needs no torch.

`public/` holds one file per public data set and the two tables that derive from them; `gathering/` what those files share.
"""
