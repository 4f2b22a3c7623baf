// JSON text, written and never read.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace edgepose {

class Json {
 public:
  Json(std::nullptr_t = nullptr) : text_("null") {}
  Json(bool value) : text_(value ? "true" : "false") {}
  Json(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.15g", value);
    if (std::strtod(text, nullptr) != value) std::snprintf(text, sizeof text, "%.17g", value);
    text_ = std::isfinite(value) ? text : "null";
  }
  template <class Int, std::enable_if_t<std::is_integral_v<Int>, int> = 0>
  Json(Int value) : text_(std::to_string(value)) {}
  Json(const char* value) : Json(std::string(value)) {}
  Json(const std::string& value) : text_("\"") {
    for (const unsigned char c : value) {
      char escaped[8];
      if (c == '"' || c == '\\') {
        (text_ += '\\') += static_cast<char>(c);
      } else if (c < 0x20) {
        std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
        text_ += escaped;
      } else {
        text_ += c < 0x7f ? static_cast<char>(c) : '?';  // nothing that a board says needs more
      }
    }
    text_ += '"';
  }
  template <class Value>
  Json(const std::vector<Value>& values) : text_("[") {
    for (const Value& value : values) text_ += (text_.size() > 1 ? ", " : "") + Json(value).text_;
    text_ += ']';
  }
  Json(const std::map<std::string, Json>& fields) : text_("{") {
    for (const auto& [key, value] : fields) {
      text_ += (text_.size() > 1 ? ", " : "") + Json(key).text_ + ": " + value.text_;
    }
    text_ += '}';
  }
  Json(std::initializer_list<std::pair<const std::string, Json>> fields)
      : Json(std::map<std::string, Json>(fields)) {}

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

using Fields = std::map<std::string, Json>;

}  // namespace edgepose
