// pose_numerics.hpp for ctypes; 1: it refused.
#include <cstring>

#include "pose_numerics.hpp"

using namespace edgepose;

static Affine affine(const double* m) { return Affine{m[0], m[1], m[2], m[3], m[4], m[5]}; }

extern "C" {

int crop_matrix(const double* box, double padding, int width, int height, int centers, double* out) try {
    const Affine m = cropMatrix(Box{box[0], box[1], box[2], box[3]}, padding, width, height, centers != 0);
    const double values[] = {m.a, m.b, m.c, m.d, m.e, m.f};
    std::memcpy(out, values, sizeof values);
    return 0;
} catch (const std::exception&) {
    return 1;
}

int crop_image(const unsigned char* pixels, int width, int height, int rowBytes, int pixelBytes, int red,
               int blue, const double* matrix, int outWidth, int outHeight, unsigned char* out) {
    const Image image{pixels, width, height, rowBytes, pixelBytes, red, 1, blue};
    const auto found = crop(image, affine(matrix), outWidth, outHeight);
    std::memcpy(out, found.data(), found.size());
    return 0;
}

int normalise_crop(const unsigned char* rgb, int count, const double* mean, const double* std, int bgr,
                   float* out) {
    const auto found = normalise({rgb, rgb + count}, {mean[0], mean[1], mean[2]}, {std[0], std[1], std[2]}, bgr != 0);
    std::memcpy(out, found.data(), found.size() * sizeof(float));
    return 0;
}

int decode_maps(const float* maps, int joints, int height, int width, int rule, double sigma, int stride,
                int centers, const double* matrix, float* out) try {
    const std::vector<float> all(maps, maps + joints * height * width);
    const auto found = decode(all, joints, height, width, static_cast<Rule>(rule), sigmaPixels(sigma, height, width));
    const auto image = toImage(found, affine(matrix), pitch(stride, width, centers != 0),
                               pitch(stride, height, centers != 0));
    std::memcpy(out, image.data(), image.size() * sizeof(Joint));
    return 0;
} catch (const std::exception&) {
    return 1;
}

int choose_size(double width, double height, const int* sides, int count) {
    std::vector<CropSize> sizes;
    for (int i = 0; i < count; ++i) sizes.push_back(CropSize{sides[2 * i], sides[2 * i + 1]});
    return int(chooseSize(Box{3, 5, width, height}, sizes));
}

int joints_of(const float* values, int count, int joints, const double* matrix, float* out) try {
    const auto found = toImage(readJoints({values, values + count}, joints), affine(matrix), 1.0, 1.0);
    std::memcpy(out, found.data(), found.size() * sizeof(Joint));
    return 0;
} catch (const std::exception&) {
    return 1;
}
}
