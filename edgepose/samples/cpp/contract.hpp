// What artifact.json says about the model beside it. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "pose_numerics.hpp"

namespace edgepose {

// The network for one crop size: normalised floats in and heatmaps out, or a whole-pose graph, bytes in and
// joints out.
struct Network {
    std::string inputName, outputName, modelSha256, buildSha256;
    int width = 0, height = 0;                // of the crop
    bool wholePose = false;
    int heatmapWidth = 0, heatmapHeight = 0;  // one heatmap per joint
    std::map<std::string, std::string> files;  // role -> path

    std::string path(const std::string& role) const {
        const auto found = files.find(role);
        if (found == files.end()) throw std::runtime_error("artifact.json names no file for " + role);
        return found->second;
    }

    // The ONNX file; a packed one has to be unpacked first.
    std::string onnx() const {
        std::string file = files.count("onnx") ? path("onnx") : path("model");
        const std::string packed = ".xz";
        if (file.size() > packed.size() && file.substr(file.size() - packed.size()) == packed) {
            const std::string open = file.substr(0, file.size() - packed.size());
            if (!std::ifstream(open)) throw std::runtime_error("unpack it first: xz -dk " + file);
            if (std::filesystem::last_write_time(open) < std::filesystem::last_write_time(file)) {
                throw std::runtime_error(open + " is older than its .xz, unpack it again: xz -dkf " + file);
            }
            return open;
        }
        return file;
    }
};

struct Contract {
    std::string folder, runtime;
    std::vector<Network> networks;  // one for each crop size, to choose from for each person
    std::vector<std::string> joints;
    std::vector<std::pair<int, int>> limbs;
    std::array<double, 3> mean{}, std{};
    bool bgr = false, centers = false;
    double padding = 1.25, sigma = 2.0;
    int stride = 4;
    Rule rule = Rule::quarterPixel;

    std::vector<CropSize> sizes() const {
        std::vector<CropSize> out;
        for (const Network& network : networks) out.push_back(CropSize{network.width, network.height});
        return out;
    }
};

inline Rule ruleOf(const std::string& word) {
    if (word == "argmax-quarter-pixel") return Rule::quarterPixel;
    if (word == "argmax-dark") return Rule::dark;
    if (word == "argmax-dark-udp") return Rule::darkUdp;
    throw std::runtime_error("this sample cannot decode by " + word);
}

inline bool endsWith(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// entry: artifact.json itself, or one of its variants. A variant's files are those whose roles end as its
// model's does: "build_192x144" goes with "model_192x144".
inline Network readNetwork(const nlohmann::json& json, const nlohmann::json& entry, const std::string& where,
                           const std::string& folder) {
    const std::string model = "model", role = entry.value("role", model);
    const std::string suffix = role.substr(model.size());
    const auto &input = entry.at("input"), &output = entry.at("output");
    Network network;
    network.wholePose = output.at("layout") == "NJ3";
    const bool bytes = where == "graph" && input.at("layout") == "NHWC";
    const bool floats = where == "host" && input.at("layout") == "NCHW" && output.at("layout") == "NCHW";
    if (network.wholePose ? !bytes : !floats) {
        throw std::runtime_error("this sample takes models to heatmaps and whole-pose graphs");
    }
    network.inputName = input.at("name");
    network.outputName = output.at("name");
    network.height = input.at("shape").at(network.wholePose ? 1 : 2);
    network.width = input.at("shape").at(network.wholePose ? 2 : 3);
    if (!network.wholePose) {
        network.heatmapHeight = output.at("shape").at(2);
        network.heatmapWidth = output.at("shape").at(3);
    }
    for (const auto& file : json.at("files")) {
        const std::string name = file.at("role");
        if (!endsWith(name, suffix)) continue;
        network.files[name.substr(0, name.size() - suffix.size())] =
            folder + "/" + file.at("path").get<std::string>();
        if (name == role) network.modelSha256 = file.at("sha256");
        if (name == "build" + suffix) network.buildSha256 = file.at("sha256");
    }
    return network;
}

inline Contract readContract(const std::string& folder) {
    std::ifstream stream(folder + "/artifact.json");
    if (!stream) throw std::runtime_error("cannot read " + folder + "/artifact.json");
    const nlohmann::json json = nlohmann::json::parse(stream);
    if (json.at("schema_version") != 1) throw std::runtime_error("artifact.json is of another version");
    const auto& pre = json.at("preprocessing");
    Contract contract;
    contract.folder = folder;
    contract.runtime = json.at("runtime");
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
    // Of the variants for one image: whole-pose graphs where there are any, else heatmaps.
    const nlohmann::json variants = json.value("variants", nlohmann::json::array());
    for (const std::string gives : {"joints", "heatmaps"}) {
        for (const auto& variant : variants) {
            if (variant.at("gives") != gives || variant.at("batch") != 1) continue;
            contract.networks.push_back(readNetwork(json, variant, variant.at("where"), folder));
        }
        if (!contract.networks.empty()) return contract;
    }
    contract.networks.push_back(readNetwork(json, json, pre.at("where"), folder));
    return contract;
}

}  // namespace edgepose
