print("mpicheck")
