// Runs a fuzz target without a fuzzer, so that any compiler and every check does: over the files of
// the given folders (a .hex file holds its bytes as text), then over COUNT inputs drawn from SEED,
// half of them damaged copies of those files. Usage: TARGET COUNT SEED FOLDER...

#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/prng.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  std::string pair;
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c))) continue;
    pair.push_back(c);
    if (pair.size() < 2) continue;
    bytes.push_back(static_cast<char>(std::stoi(pair, nullptr, 16)));
    pair.clear();
  }
  return bytes;
}

std::vector<std::string> read_folders(int count, char** folders) {
  std::vector<std::string> inputs;
  for (int i = 0; i < count; ++i)
    for (const auto& entry : std::filesystem::directory_iterator(folders[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file{entry.path(), std::ios::binary};
      const std::string text{std::istreambuf_iterator<char>{file}, {}};
      inputs.push_back(entry.path().extension() == ".hex" ? from_hex(text) : text);
    }
  return inputs;
}

std::string damaged(std::string input, gpupool::Prng& random) {
  for (std::uint64_t changes = 1 + random.below(8); changes > 0 && !input.empty(); --changes) {
    const std::size_t place = random.below(input.size());
    switch (random.below(4)) {
      case 0:
        input.resize(place);
        break;
      case 1:
        input.insert(place, input.substr(random.below(input.size()), random.below(16)));
        break;
      default:
        input[place] = static_cast<char>(random.below(256));
    }
  }
  return input;
}

std::string drawn(gpupool::Prng& random) {
  std::string input(random.below(300), '\0');
  for (char& c : input) c = static_cast<char>(random.below(256));
  return input;
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "usage: %s COUNT SEED FOLDER...\n", words[0]);
    return 2;
  }
  const std::vector<std::string> inputs = read_folders(count - 3, words + 3);
  if (inputs.empty()) {
    std::fprintf(stderr, "the folders hold no files\n");
    return 1;
  }
  for (const std::string& input : inputs) run(input);
  gpupool::Prng random{std::strtoull(words[2], nullptr, 10)};
  const std::uint64_t rounds = std::strtoull(words[1], nullptr, 10);
  for (std::uint64_t i = 0; i < rounds; ++i)
    run(i % 2 == 0 ? damaged(inputs[random.below(inputs.size())], random) : drawn(random));
  std::printf("%zu files and %llu drawn inputs: no crash\n", inputs.size(),
              static_cast<unsigned long long>(rounds));
  return 0;
}
