import Corpus
import Tensors

/// Words as frequent as those of a natural language: the word of rank r comes with a probability proportional to 1 / r (Zipf 1935).
struct ZipfText: TokenSequence {
  let count: Int
  /// The sum of the weights of the words up to each, the last being all.
  private let cumulative: [Double]
  private let key: RandomKey

  init(count: Int, vocabularySize: Int, seed: UInt64) {
    self.count = count
    key = RandomKey(seed: seed).derived("zipf")
    var sum = 0.0
    cumulative = (0..<vocabularySize).map { word in
      sum += 1 / Double(word + 1)
      return sum
    }
  }

  subscript(position: Int) -> Int32 {
    let place = key.uniform(position) * cumulative[cumulative.count - 1]
    var (low, high) = (0, cumulative.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulative[middle] > place { high = middle } else { low = middle + 1 }
    }
    return Int32(low)
  }

  func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    for (index, position) in range.enumerated() { destination[index] = self[position] }
  }
}
