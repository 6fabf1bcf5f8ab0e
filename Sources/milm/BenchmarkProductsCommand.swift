import ArgumentParser
import Measurement

/// `milm benchmark products`: the matrix products of a step, each by itself.
struct BenchmarkProductsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "products",
    abstract: "Times the matrix products of a step, each by itself, against OpenBLAS.",
    discussion: """
      Example:
        milm benchmark products configs/wikitext103-multencdec.yaml --lanes 16 --threads 2
      """)

  @OptionGroup var options: BenchmarkCommand.Options

  func run() throws {
    options.measure("benchmark", unit: "products") { benchmark, progress in
      try ProductBenchmark(benchmark).run(progress: progress)
    } show: { result in
      let engine = "\(result.engine), \(result.cpuLevel), \(result.precision), \(result.threads) threads"
      printTable(
        [
          ("engine", engine), ("peak", "\(figure(result.peakGigaflops)) GFLOP/s"),
          ("product", "GFLOP/s (OpenBLAS fp32)"),
        ]
          + result.products.map { product in
            (
              "\(product.name), \(product.rows) × \(product.columns) × \(product.depth)",
              "\(figure(product.gigaflops)) (\(figure(product.openBLASGigaflops)))"
            )
          })
    }
  }
}
