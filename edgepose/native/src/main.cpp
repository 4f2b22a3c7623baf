// The runner for devices without Python: the commands, the answers and the rules of edgepose/device.
//
//   edgepose-runner info [--library libonnxruntime.so]
//   edgepose-runner run --job FILE --out DIR [--library libonnxruntime.so]
//
// and hello, put, get, start, status, stop, clean for `edgepose bench --device`. The answer is one line
// of JSON; {"error": {"problem", "fix"}} with exit code 2.

#include <limits.h>

#include <map>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "receive.hpp"

namespace edgepose {
namespace {

class Words {
 public:
  explicit Words(const std::vector<std::string>& words) {
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i].rfind("--", 0) == 0 && i + 1 < words.size()) {
        options_[words[i].substr(2)] = words[i + 1];
        ++i;
      } else {
        plain_.push_back(words[i]);
      }
    }
  }
  std::string option(const std::string& name, const std::string& otherwise) const {
    const auto found = options_.find(name);
    return found == options_.end() ? otherwise : found->second;
  }
  std::string needed(const std::string& name) const {
    if (!options_.count(name)) throw Refused("--" + name + " is missing", "read the head of main.cpp");
    return options_.at(name);
  }
  const std::string& at(std::size_t index) const {
    if (index >= plain_.size()) throw Refused("a word is missing", "read the head of main.cpp");
    return plain_[index];
  }
  std::vector<std::string> from(std::size_t index) const {
    return {plain_.begin() + static_cast<std::ptrdiff_t>(std::min(index, plain_.size())), plain_.end()};
  }

 private:
  std::map<std::string, std::string> options_;
  std::vector<std::string> plain_;
};

// "~" is the user's home, as in the Python runner.
std::string expand(const std::string& path) {
  const char* home = std::getenv("HOME");
  if (path == "~" || path.rfind("~/", 0) == 0) return (home ? home : "") + path.substr(1);
  return path;
}

Json info(const std::string& library) {
  const Runtime runtime = open_runtime(library);
  const bool usable = runtime.api != nullptr;
  const Json found{{"name", "onnxruntime"},
                   {"version", usable ? Json(runtime.version) : Json(nullptr)},
                   {"why_not", usable ? Json(nullptr) : Json(runtime.why_not)}};
  std::vector<std::string> notes;
  Fields fields = read_board(notes);
  fields["runtimes"] = std::vector<Json>{found};
  fields["resampler"] = "edgepose native";
  return fields;
}

Json run(const Words& words, const std::string& library) {
  const std::string out = words.needed("out");
  make_folders(out);
  const int held = take_lock(words.option("lock", default_lock()), "run in " + out);
  Work work(words.needed("job"), out, library, [](const std::string&, std::int64_t, std::int64_t) {});
  work.run();
  ::close(held);
  return work.result();
}

void command(const std::string& name, const Words& words) {
  const std::string library = expand(words.option("library", "libonnxruntime.so"));
  if (name == "info") return answer(info(library));
  if (name == "run") return answer(run(words, library));
  if (name == "hello") return hello(expand(words.at(0)), words.from(1));
  if (name == "get") return get(expand(words.at(0)), words.at(1), std::stoll(words.at(2)));
  if (name == "put") {
    return put(expand(words.at(0)), words.at(1), std::stoll(words.at(2)), std::stoll(words.at(3)),
               words.option("from", ""));
  }
  if (name != "start" && name != "status" && name != "stop" && name != "clean") {
    throw Refused("'" + name + "' is no command", "use info or run");
  }
  const std::string root = expand(words.needed("root")), job = words.option("job", "");
  const std::string lock = words.option("lock", default_lock());
  if (name == "start") return answer(start(root, job, words.needed("file"), lock, library));
  if (name == "status") {
    return answer(status(root, job, std::stod(words.option("wait", "0")), words.option("seen", "")));
  }
  if (name == "stop") return answer(stop(root, job));
  answer(clean(root, lock));
}

}  // namespace
}  // namespace edgepose

int main(int count, char** values) {
  using namespace edgepose;
  std::string problem, fix;
  try {
    const std::vector<std::string> words(values + 1, values + count);
    if (words.empty()) throw Refused("no command was given", "use info or run");
    command(words[0], Words({words.begin() + 1, words.end()}));
    return 0;
  } catch (const Refused& error) {
    problem = error.what(), fix = error.fix;
  } catch (const std::exception& error) {
    problem = std::string("the runner broke: ") + error.what(), fix = "use the runner of this edgepose";
  }
  answer(Json{{"error", Json{{"problem", problem}, {"fix", fix}}}});
  return 2;
}
