import Foundation

/// A program that this one has started, in a process group of its own: signals of the terminal do not reach it.
package struct ChildProcess: Sendable {
  package let processID: pid_t

  /// Starts a program with its arguments, the program's name first; what it prints is appended to the file `log`, which is
  /// no link, device or pipe.
  ///
  /// It starts with no signal blocked, whatever the calling thread blocks. `environment` is added to that of this process.
  package init(_ arguments: [String], environment added: [String: String] = [:], log: String)
    throws(MilmError)
  {
    let output = try OpenFile.appending(log)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    var restored = sigset_t()
    sigemptyset(&restored)
    for signal in [SIGPIPE, SIGXFSZ] { sigaddset(&restored, signal) }
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &restored)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output.descriptor, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
    let variables = ProcessInfo.processInfo.environment.merging(added) { $1 }.map { "\($0)=\($1)" }
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var settings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for text in words + settings { free(text) } }
    var identifier: pid_t = 0
    let code = posix_spawnp(&identifier, arguments[0], &actions, &attributes, &words, &settings)
    guard code == 0 else { throw MilmError(arguments[0], cannot: "start", code: code) }
    processID = identifier
  }

  /// Sends it a signal.
  package func send(_ signal: CInt) { kill(processID, signal) }

  /// Its exit status, or 128 and the number of the signal that has ended it; nil while it runs.
  ///
  /// Must not be called again once it has returned a status.
  package func statusIfEnded() -> CInt? {
    var status: CInt = 0
    guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
    let signal = status & 0x7F
    return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
  }
}
