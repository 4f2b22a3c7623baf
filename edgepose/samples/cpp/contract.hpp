// What artifact.json says about the model beside it. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "pose_numerics.hpp"

namespace edgepose {

struct Contract {
    std::string folder, runtime, inputName, outputName, modelSha256;
    int width = 0, height = 0;                // of the crop
    int heatmapWidth = 0, heatmapHeight = 0;  // one heatmap per joint
    std::vector<std::string> joints;
    std::vector<std::pair<int, int>> limbs;
    std::array<double, 3> mean{}, std{};
    bool bgr = false, centers = false;
    double padding = 1.25, sigma = 2.0;
    int stride = 4;
    Rule rule = Rule::quarterPixel;
    std::map<std::string, std::string> files;  // role -> path

    std::string path(const std::string& role) const {
        const auto found = files.find(role);
        if (found == files.end()) throw std::runtime_error("artifact.json names no file for " + role);
        return folder + "/" + found->second;
    }

    // The ONNX file; a packed one has to be unpacked first.
    std::string onnx() const {
        std::string file = files.count("onnx") ? path("onnx") : path("model");
        const std::string packed = ".xz";
        if (file.size() > packed.size() && file.substr(file.size() - packed.size()) == packed) {
            const std::string open = file.substr(0, file.size() - packed.size());
            if (!std::ifstream(open)) throw std::runtime_error("unpack it first: xz -dk " + file);
            return open;
        }
        return file;
    }
};

inline Rule ruleOf(const std::string& word) {
    if (word == "argmax-quarter-pixel") return Rule::quarterPixel;
    if (word == "argmax-dark") return Rule::dark;
    if (word == "argmax-dark-udp") return Rule::darkUdp;
    throw std::runtime_error("this sample cannot decode by " + word);
}

inline Contract readContract(const std::string& folder) {
    std::ifstream stream(folder + "/artifact.json");
    if (!stream) throw std::runtime_error("cannot read " + folder + "/artifact.json");
    const nlohmann::json json = nlohmann::json::parse(stream);
    if (json.at("schema_version") != 1) throw std::runtime_error("artifact.json is of another version");
    const auto& pre = json.at("preprocessing");
    if (pre.at("where") != "host" || json.at("input").at("layout") != "NCHW" ||
        json.at("output").at("layout") != "NCHW") {
        throw std::runtime_error("this sample takes models from normalised pixels to heatmaps");
    }
    Contract contract;
    contract.folder = folder;
    contract.runtime = json.at("runtime");
    contract.inputName = json.at("input").at("name");
    contract.outputName = json.at("output").at("name");
    contract.height = json.at("input").at("shape").at(2);
    contract.width = json.at("input").at("shape").at(3);
    contract.heatmapHeight = json.at("output").at("shape").at(2);
    contract.heatmapWidth = json.at("output").at("shape").at(3);
    contract.joints = json.at("skeleton").at("joints").get<std::vector<std::string>>();
    contract.limbs = json.at("skeleton").at("limbs").get<std::vector<std::pair<int, int>>>();
    contract.mean = pre.at("mean").get<std::array<double, 3>>();
    contract.std = pre.at("std").get<std::array<double, 3>>();
    contract.bgr = pre.at("color") == "BGR";
    contract.padding = json.at("crop").at("padding");
    contract.centers = json.at("crop").at("alignment") == "centers";
    contract.stride = json.at("codec").at("stride");
    contract.sigma = json.at("codec").at("sigma");
    contract.rule = ruleOf(json.at("codec").at("rule"));
    for (const auto& file : json.at("files")) {
        contract.files[file.at("role")] = file.at("path").get<std::string>();
        if (file.at("role") == "model") contract.modelSha256 = file.at("sha256");
    }
    return contract;
}

}  // namespace edgepose
