// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Where oneDNN is, if the environment names a directory with `include` and `lib`; else the system's is taken.
let oneDNNDirectory = Context.environment["MILM_ONEDNN"].flatMap {
  $0.isEmpty
    ? nil
    : URL(filePath: $0, relativeTo: URL(filePath: Context.packageDirectory, directoryHint: .isDirectory)).path
}
/// oneDNN, version 2 or 3, multiplies where its headers are; with MILM_WITHOUT_ONEDNN in the environment it is left out.
let hasOneDNN =
  (oneDNNDirectory != nil || FileManager.default.fileExists(atPath: "/usr/include/dnnl.h"))
  && Context.environment["MILM_WITHOUT_ONEDNN"] == nil

/// Another directory's library is linked by its path: the linker searches the system's directories first.
let oneDNN: [Target] =
  hasOneDNN
  ? [
    .target(
      name: "CDNNL",
      cSettings: oneDNNDirectory.map { [.unsafeFlags(["-isystem", "\($0)/include"])] },
      linkerSettings: [
        oneDNNDirectory.map {
          .unsafeFlags(["\($0)/lib/libdnnl.so", "-rpath", "\($0)/lib"].flatMap { ["-Xlinker", $0] })
        } ?? .linkedLibrary("dnnl"),
        .linkedLibrary("gomp"),
      ])
  ] : []

/// The MPI library, by its name for pkg-config.
///
/// Open MPI, or MPICH if MILM_MPI in the environment says so or only that is there. Any other value of MILM_MPI is the
/// pkg-config name of an implementation with MPICH's ABI, such as `impi`.
let mpi: (pkgConfig: String, package: String) = {
  let (openMPI, mpich) = (("ompi-c", "libopenmpi-dev"), ("mpich", "libmpich-dev"))
  switch Context.environment["MILM_MPI"] ?? "" {
  case "openmpi": return openMPI
  case "mpich": return mpich
  case "": return !hasPkgConfig(openMPI.0) && hasPkgConfig(mpich.0) ? mpich : openMPI
  case let other: return (other, mpich.1)
  }
}()

/// Whether a directory that pkg-config usually searches has a library of this name.
func hasPkgConfig(_ name: String) -> Bool {
  let added = (Context.environment["PKG_CONFIG_PATH"] ?? "").split(separator: ":").map(String.init)
  let libraries = ["/usr/lib", "/usr/lib64", "/usr/share", "/usr/local/lib"]
  let multiarch = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib")) ?? []
  let directories =
    added
    + (libraries + multiarch.filter { $0.contains("-linux-") }.map { "/usr/lib/\($0)" }).map {
      "\($0)/pkgconfig"
    }
  return directories.contains { FileManager.default.fileExists(atPath: "\($0)/\(name).pc") }
}

/// Only Tests/EndToEnd/build-documentation.sh sets MILM_DOCS.
let documentationPlugin: [Package.Dependency] =
  Context.environment["MILM_DOCS"] == nil
  ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]

/// The dependencies are the design: a module imports only what its line names, which Tests/check-imports.py checks.
let package = Package(
  name: "milm",
  products: [
    .executable(name: "milm", targets: ["milm"])
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ] + documentationPlugin,
  targets: [
    .systemLibrary(name: "CMPI", pkgConfig: mpi.pkgConfig, providers: [.apt([mpi.package])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .target(name: "CKernels"),
    .target(name: "CStart"),

    .target(
      name: "Platform",
      dependencies: ["CKernels", .product(name: "Crypto", package: "swift-crypto")]),
    .target(
      name: "Tensors", dependencies: ["CKernels", "COpenBLAS", "Platform"] + (hasOneDNN ? ["CDNNL"] : [])),
    .target(name: "Layers", dependencies: ["CKernels", "Platform", "Tensors"]),
    .target(name: "LanguageModel", dependencies: ["Layers", "Platform", "Tensors"]),
    .target(
      name: "Corpus",
      dependencies: ["CKernels", "CZlib", "CZstd", "Platform"]),
    .target(name: "Communication", dependencies: ["CKernels", "CMPI", "CZstd", "Platform", "Tensors"]),
    .target(
      name: "Checkpoints",
      dependencies: ["Layers", "Platform", "Tensors"]),
    .target(
      name: "Reporting",
      dependencies: [
        "Platform", .product(name: "Logging", package: "swift-log"),
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ],
      exclude: ["TensorBoard/event.proto"]),
    .target(
      name: "Evaluation",
      dependencies: [
        "Checkpoints", "Communication", "Corpus", "LanguageModel", "Layers", "Platform", "Tensors",
      ]),
    .target(
      name: "Training",
      dependencies: [
        "Checkpoints", "Communication", "Corpus", "Evaluation", "LanguageModel", "Layers", "Platform",
        "Reporting", "Tensors", .product(name: "Logging", package: "swift-log"),
        .product(name: "Yams", package: "Yams"),
      ]),
    .target(
      name: "Measurement",
      dependencies: [
        "Checkpoints", "Communication", "Corpus", "Evaluation", "LanguageModel", "Layers", "Platform",
        "Reporting", "Tensors", "Training",
      ]),
    .target(name: "Studies", dependencies: ["Communication", "Layers", "Platform", "Reporting", "Tensors"]),
    .executableTarget(
      name: "milm",
      dependencies: [
        "CStart", "Checkpoints", "Communication", "Corpus", "Evaluation", "LanguageModel", "Layers",
        "Measurement", "Platform", "Reporting", "Studies", "Tensors", "Training",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ], exclude: ["python"]),

    .target(name: "TestSupport", dependencies: ["Communication", "Platform"], path: "Tests/Support"),
    .executableTarget(
      name: "RankProgram", dependencies: ["Communication", "Platform", "TestSupport"],
      path: "Tests/RankProgram"),
    .target(
      name: "KernelLevels", path: "Tests/KernelLevels",
      cSettings: [
        .headerSearchPath("../../Sources/CKernels"), .headerSearchPath("../../Sources/CKernels/include"),
      ]),
    .testTarget(name: "PlatformTests", dependencies: ["Platform", "TestSupport"]),
    .testTarget(
      name: "TensorsTests", dependencies: ["CKernels", "KernelLevels", "Tensors", "TestSupport"]),
    .testTarget(name: "LayersTests", dependencies: ["Layers", "Tensors", "TestSupport"]),
    .testTarget(
      name: "LanguageModelTests",
      dependencies: ["Checkpoints", "LanguageModel", "Layers", "Platform", "Tensors", "TestSupport"],
      resources: [.copy("Fixtures")]),
    .testTarget(name: "CorpusTests", dependencies: ["Corpus", "Platform", "TestSupport"]),
    .testTarget(
      name: "CommunicationTests",
      dependencies: ["Communication", "Platform", "RankProgram", "Tensors", "TestSupport"]),
    .testTarget(
      name: "CheckpointsTests",
      dependencies: [
        "Checkpoints", "Platform", "TestSupport", .product(name: "Crypto", package: "swift-crypto"),
      ]),
    .testTarget(
      name: "ReportingTests",
      dependencies: ["Platform", "Reporting", "TestSupport", .product(name: "Logging", package: "swift-log")]),
    .testTarget(
      name: "TrainingTests",
      dependencies: [
        "Checkpoints", "Communication", "Corpus", "Evaluation", "LanguageModel", "Platform", "Reporting",
        "TestSupport", "Training", .product(name: "Logging", package: "swift-log"),
      ], exclude: ["Golden"]),
    .testTarget(
      name: "EvaluationTests",
      dependencies: [
        "Checkpoints", "Communication", "Corpus", "Evaluation", "LanguageModel", "Layers", "Platform",
        "Tensors", "TestSupport",
      ]),
    .testTarget(
      name: "MeasurementTests",
      dependencies: [
        "Communication", "LanguageModel", "Measurement", "Platform", "Tensors", "TestSupport", "Training",
      ]),
    .testTarget(
      name: "StudiesTests", dependencies: ["Communication", "Platform", "Studies", "TestSupport", "milm"]),
    .testTarget(name: "CommandTests", dependencies: ["Checkpoints", "Platform", "TestSupport", "milm"]),
  ] + oneDNN,
  swiftLanguageModes: [.v6],
  cLanguageStandard: .gnu11
)
