print("milm")
