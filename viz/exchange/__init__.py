"""Exchange with other programs: the rules of their files, and a validator that names every broken one."""
