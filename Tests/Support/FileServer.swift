import Foundation

/// An HTTP server on loopback that serves one file, with the fault that the first part of the path names.
///
/// `/whole/F` serves the requested range; `/breaks/F` closes each connection half-way through the rest; `/no-ranges/F`
/// breaks off once and ignores ranges; `/busy/F` answers 503 once; `/stalls/F` stops sending once, without closing;
/// `/wrong/F` has other bytes; `/long/F` and `/longer/F` announce ten bytes too many, for the rest and for the whole;
/// `/missing/F` answers 404; `/sips/F` closes each connection after a byte; `/drips/F` sends a byte every 50 ms, `/head-drips/F` its headers in that way, `/silent/F`
/// nothing at all; `/counted/F` counts what it sends.
package final class FileServer {
  private let folder: TemporaryFolder
  private let server: RunningProgram
  private let port: String

  /// Serves these bytes until the server is released.
  package init(_ bytes: [UInt8]) throws {
    folder = try TemporaryFolder()
    try folder.write(bytes, to: "file")
    try folder.write(Self.program, to: "server.py")
    server = try RunningProgram(["python3", folder.file("server.py"), folder.path])
    let file = folder.file("port")
    let deadline = Date(timeIntervalSinceNow: 60)
    while !FileManager.default.fileExists(atPath: file) && Date() < deadline { usleep(10_000) }
    port = try String(contentsOfFile: file, encoding: .utf8)
  }

  deinit { kill(server.processID, SIGKILL) }

  /// The address of the file with a fault.
  package func address(_ fault: String) throws -> URL {
    guard let url = URL(string: "http://127.0.0.1:\(port)/\(fault)/file.zip") else { throw URLError(.badURL) }
    return url
  }

  /// The path and the range of every request so far, one per line; a dash for a request without a range.
  package var requests: [String] {
    let log = (try? String(contentsOfFile: folder.file("log"), encoding: .utf8)) ?? ""
    return log.split(separator: "\n").map(String.init)
  }

  /// The bytes that `/counted/F` has sent so far.
  package var sentByteCount: Int {
    let count = (try? String(contentsOfFile: folder.file("sent"), encoding: .utf8)) ?? ""
    return Int(count) ?? 0
  }

  private static let program = """
    import http.server, os, sys, time
    folder = sys.argv[1]
    content = open(os.path.join(folder, "file"), "rb").read()
    seen = set()

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"

      def log_message(self, *arguments):
        pass

      def do_GET(self):
        fault = self.path.split("/")[1]
        asked = self.headers.get("Range")
        with open(os.path.join(folder, "log"), "a") as log:
          print(fault, asked or "-", file=log)
        if fault == "silent":
          time.sleep(600)
        if fault == "head-drips":
          return self.drip(b"HTTP/1.1 200 OK\\r\\nX: " + b"x" * 9999)
        first = fault not in seen
        seen.add(fault)
        self.close_connection = True
        if fault == "missing" or (fault == "busy" and first):
          self.send_error(404 if fault == "missing" else 503)
          return
        data = bytes(255 - byte for byte in content) if fault == "wrong" else content
        start = int(asked[len("bytes="):-1]) if asked and fault != "no-ranges" else 0
        total = len(data) + (10 if fault == "longer" else 0)
        if asked and start >= len(data):
          self.send_response(416)
          self.send_header("Content-Range", f"bytes */{total}")
          self.send_header("Content-Length", "0")
          self.end_headers()
          return
        rest = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(total - start + (10 if fault == "long" else 0)))
        if start:
          self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if (fault == "breaks" and len(rest) > 1000) or (fault in ("no-ranges", "stalls") and first):
          rest = rest[:len(rest) // 2]
        if fault == "sips":
          rest = rest[:1]
        if fault == "drips":
          return self.drip(rest)
        pieces = range(0, len(rest), 65536) if fault == "counted" else []
        for start in pieces:
          self.wfile.write(rest[start:start + 65536])
          with open(os.path.join(folder, "sent.new"), "w") as file:
            file.write(str(start + 65536))
          os.rename(os.path.join(folder, "sent.new"), os.path.join(folder, "sent"))
        if fault == "counted":
          return
        self.wfile.write(rest)
        self.wfile.flush()
        if fault == "stalls" and first:
          time.sleep(600)

      def drip(self, data):
        for index in range(len(data)):
          self.wfile.write(data[index:index + 1])
          self.wfile.flush()
          time.sleep(0.05)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(os.path.join(folder, "port.new"), "w") as file:
      file.write(str(server.server_port))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    server.serve_forever()
    """
}
