#include "gpu/text.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

using Tokens = std::vector<std::int32_t>;

Tokenizer small_tokenizer() {
  return *Tokenizer::make({.words = {"<null>", "red", "heart", "cat", "1st", "womans"},
                           .stopwords = {"a", "the", "of"},
                           .null_token = 0});
}

}  // namespace

TEST_CASE("A prompt becomes the tokens of its words, in their order and each time") {
  const Tokenizer tokenizer = small_tokenizer();
  CHECK(tokenizer.tokens_of("red heart").tokens == Tokens{1, 2});
  CHECK(tokenizer.tokens_of("heart red heart").tokens == Tokens{2, 1, 2});
  CHECK(tokenizer.tokens_of("  1st\tcat\n").tokens == Tokens{4, 3});
}

TEST_CASE("Case, punctuation and apostrophes are read as in training") {
  const Tokenizer tokenizer = small_tokenizer();
  CHECK(tokenizer.tokens_of("RED-Heart,cat!").tokens == Tokens{1, 2, 3});
  CHECK(tokenizer.tokens_of("woman's").tokens == Tokens{5});
  CHECK(tokenizer
            .tokens_of("woman\xE2\x80\x99s \xE2\x80\x98"
                       "cat\xE2\x80\x98")
            .tokens == Tokens{5, 3});
  CHECK(tokenizer.tokens_of("red\xC3\xA9heart").tokens == Tokens{1, 2});
}

TEST_CASE("Stopwords are dropped without a word") {
  const Prompt prompt = small_tokenizer().tokens_of("the heart of a cat");
  CHECK(prompt.tokens == Tokens{2, 3});
  CHECK(prompt.unknown_words.empty());
}

TEST_CASE("Unknown words are dropped and named once each") {
  const Prompt prompt = small_tokenizer().tokens_of("Blue cat, blue quasar");
  CHECK(prompt.tokens == Tokens{3});
  CHECK(prompt.unknown_words == std::vector<std::string>{"blue", "quasar"});
}

TEST_CASE("A prompt with nothing known is the null token") {
  const Tokenizer tokenizer = small_tokenizer();
  for (const char* text : {"", "   ", "the", "quasar", "<>", "'"}) {
    CHECK(tokenizer.tokens_of(text).tokens == Tokens{0});
  }
  // The null token's word is not something that a person can type.
  CHECK(tokenizer.tokens_of("<null>").unknown_words == std::vector<std::string>{"null"});
}

TEST_CASE("Any bytes are a prompt") {
  const Tokenizer tokenizer = small_tokenizer();
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  CHECK(tokenizer.tokens_of(all + " cat \xE2\x80").tokens == Tokens{3});
}

TEST_CASE("A class is found by its number and by each of its names, whatever their case") {
  const ClassNames classes({"tench, Tinca tinca", "", "cock,", "white shark, , man-eater"});
  CHECK(classes.size() == 4);
  CHECK(classes.empty().tokens == Tokens{4});
  const auto token = [&](const char* text) { return classes.token_of(text)->tokens; };
  CHECK(token("TENCH") == Tokens{0});
  CHECK(token("\ttinca Tinca ") == Tokens{0});
  CHECK(token("man-eater") == Tokens{3});
  CHECK(token("3") == Tokens{3});
  CHECK(token("") == Tokens{4});
  CHECK(token("  ") == Tokens{4});
}

TEST_CASE("A prompt that is no class is refused, with the names that hold it") {
  const ClassNames classes({"ant", "giant panda", "elephant", "antelope", "ants", "mantis", "ox"});
  const auto detail = [&](const char* text) {
    const Result<Prompt> prompt = classes.token_of(text);
    REQUIRE_FALSE(prompt);
    CHECK(prompt.error().code == Errc::bad_request);
    return prompt.error().detail;
  };
  CHECK(detail("oxen") == "\"oxen\" is no class of this model, which has 0 to 6 and their names");
  CHECK(detail("an").ends_with("perhaps ant, antelope, ants, elephant, giant panda"));
  for (const char* text : {"7", "-1", "+1", "1.0", "0x1", "99999999999999999999"}) detail(text);
}

TEST_CASE("A vocabulary with a doubled word or a null token outside it is refused") {
  const Result<Tokenizer> doubled = Tokenizer::make({.words = {"a", "b", "a"}, .stopwords = {}});
  REQUIRE_FALSE(doubled);
  CHECK(doubled.error().code == Errc::file_malformed);
  CHECK_FALSE(Tokenizer::make({.words = {"a"}, .stopwords = {}, .null_token = 1}));
  CHECK_FALSE(Tokenizer::make({.words = {}, .stopwords = {}}));
}
