/// The version of this program; all ranks of a run must have the same.
public let programVersion = "0.2.0"
