import Communication

/// The error of a run is that of its job.
public typealias TrainingError = CommunicationError
