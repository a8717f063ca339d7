#include "model_wrapper.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <opencv2/imgproc.hpp>
#include <stdexcept>

#include "model_metadata.h"

namespace {

using metadata::Resize;

cv::Scalar pad_bgr() {
  const auto& pad = metadata::pad;
  return metadata::rgb ? cv::Scalar(pad[2], pad[1], pad[0]) : cv::Scalar(pad[0], pad[1], pad[2]);
}

const float* floats(std::map<std::string, Ort::Value>& outputs, const char* name) {
  return outputs.at(name).GetTensorData<float>();
}

std::vector<int64_t> shape(std::map<std::string, Ort::Value>& outputs, const char* name) {
  return outputs.at(name).GetTensorTypeAndShapeInfo().GetShape();
}

cv::Scalar colour(int index) {
  static const std::vector<std::array<int, 3>> spare = {
      {230, 25, 75}, {60, 180, 75}, {0, 130, 200}, {245, 130, 48}, {145, 30, 180}, {70, 240, 240}};
  const auto& from = metadata::palette.empty() ? spare : metadata::palette;
  const auto& rgb = from[index % from.size()];
  return cv::Scalar(rgb[2], rgb[1], rgb[0]);
}

}  // namespace

Model::Model(const std::string& path, int threads) {
  Ort::SessionOptions options;
  if (threads > 0) options.SetIntraOpNumThreads(threads);
  session_ = Ort::Session(env_, std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(), options);
}

cv::Mat Model::prepare(const cv::Mat& image, cv::Rect2f box, Place& place) const {
  int width = metadata::width, height = metadata::height;
  cv::Mat pixels;
  if (metadata::resize == Resize::crop || metadata::resize == Resize::center) {
    if (box.empty()) box = cv::Rect2f(0, 0, float(image.cols), float(image.rows));
    const float wider = metadata::resize == Resize::crop ? metadata::box_padding : 1.f;
    const float x = box.x + box.width / 2, y = box.y + box.height / 2;
    const float factor = std::min(width / (box.width * wider), height / (box.height * wider));
    const float lost = metadata::udp ? 1.f : 0.f;
    const double sx = (width - lost) / (width / factor), sy = (height - lost) / (height / factor);
    const cv::Matx23d matrix(sx, 0, (width - lost) / 2 - x * sx, 0, sy, (height - lost) / 2 - y * sy);
    cv::warpAffine(image, pixels, matrix, cv::Size(width, height), cv::INTER_LINEAR, cv::BORDER_CONSTANT, pad_bgr());
    // Answers are in px whose corners lie on each other, whatever was done with the pixels.
    place = {image.size(), pixels.size(), factor, factor, width / 2.f - x * factor, height / 2.f - y * factor};
  } else if (metadata::resize == Resize::border) {
    cv::Size size = image.size();
    if (size.width > width || size.height > height) {
      const double factor = std::min(double(width) / size.width, double(height) / size.height);
      size = cv::Size(std::max(1, int(image.cols * factor + 0.5)), std::max(1, int(image.rows * factor + 0.5)));
      cv::resize(image, pixels, size, 0, 0, cv::INTER_LINEAR);
    } else {
      pixels = image;
    }
    if (metadata::dynamic_size) {  // the next larger multiple
      width = std::min(width, (size.width / metadata::divisor + 1) * metadata::divisor);
      height = std::min(height, (size.height / metadata::divisor + 1) * metadata::divisor);
    }
    const int left = width / 2 - size.width / 2, top = height / 2 - size.height / 2;
    cv::copyMakeBorder(pixels, pixels, top, height - size.height - top, left, width - size.width - left,
                       cv::BORDER_CONSTANT, pad_bgr());
    place = {image.size(), pixels.size(), float(size.width) / image.cols, float(size.height) / image.rows,
             float(left), float(top)};
  } else {
    cv::Size size(width, height);
    if (metadata::resize == Resize::fit) {
      const double factor = std::min(double(width) / image.cols, double(height) / image.rows);
      size = cv::Size(std::max(1, int(image.cols * factor + 0.5)), std::max(1, int(image.rows * factor + 0.5)));
    }
    if (size == image.size()) {
      pixels = image;
    } else {
      cv::resize(image, pixels, size, 0, 0, cv::INTER_LINEAR);
    }
    place = {image.size(), size, float(size.width) / image.cols, float(size.height) / image.rows, 0, 0};
    if (metadata::dynamic_size) {
      width = (size.width + metadata::divisor - 1) / metadata::divisor * metadata::divisor;
      height = (size.height + metadata::divisor - 1) / metadata::divisor * metadata::divisor;
    }
  }
  if (metadata::rgb) cv::cvtColor(pixels, pixels, cv::COLOR_BGR2RGB);
  const cv::Scalar pad(metadata::pad[0], metadata::pad[1], metadata::pad[2]);
  cv::Mat canvas(height, width, CV_32FC3, pad);
  pixels.convertTo(canvas(cv::Rect(0, 0, pixels.cols, pixels.rows)), CV_32F);
  if (metadata::uint8_input) {
    canvas.convertTo(canvas, CV_8U);
    return canvas;
  }
  canvas.forEach<cv::Vec3f>([](cv::Vec3f& pixel, const int*) {
    for (int channel = 0; channel < 3; ++channel)
      pixel[channel] = (pixel[channel] - metadata::mean[channel]) / metadata::stddev[channel];
  });
  return canvas;
}

std::map<std::string, Ort::Value> Model::run(const cv::Mat& pixels) {
  const int64_t batch = std::max(1, metadata::batch), area = int64_t(pixels.rows) * pixels.cols;
  const std::array<int64_t, 4> sides{batch, 3, pixels.rows, pixels.cols};
  const size_t bytes = pixels.elemSize1();
  std::vector<uint8_t> data(size_t(batch) * 3 * area * bytes, 0);
  std::vector<cv::Mat> planes;
  cv::split(pixels, planes);
  for (int channel = 0; channel < 3; ++channel)
    std::memcpy(data.data() + channel * area * bytes, planes[channel].data, area * bytes);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto type =
      metadata::uint8_input ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  const Ort::Value input = Ort::Value::CreateTensor(memory, data.data(), data.size(), sides.data(), sides.size(), type);
  const char* name = metadata::input_name;
  auto values = session_.Run(Ort::RunOptions{nullptr}, &name, &input, 1, metadata::outputs.data(),
                             metadata::outputs.size());
  std::map<std::string, Ort::Value> outputs;
  for (size_t index = 0; index < values.size(); ++index)
    outputs.emplace(metadata::outputs[index], std::move(values[index]));
  return outputs;
}

Result Model::predict(const cv::Mat& image, float threshold, cv::Rect2f box) {
  if (image.empty() || image.type() != CV_8UC3) throw std::invalid_argument("an image has to be 8 bit BGR");
  Place place{};
  const cv::Mat pixels = prepare(image, box, place);
  auto outputs = run(pixels);
  Result result;
  if (outputs.count("segmentation")) {
    const auto* labels = outputs.at("segmentation").GetTensorData<int64_t>();
    cv::Mat map(pixels.rows, pixels.cols, CV_8U);
    for (int index = 0; index < pixels.rows * pixels.cols; ++index) map.data[index] = uint8_t(labels[index]);
    const cv::Mat part = map(cv::Rect(0, 0, place.filled.width, place.filled.height));
    cv::resize(part, result.segmentation, image.size(), 0, 0, cv::INTER_NEAREST);
    return result;
  }
  const bool single = !outputs.count("boxes");  // a top-down pose model: one object, the box's
  const bool posed = outputs.count("keypoints") > 0;
  const auto sides = shape(outputs, posed ? "keypoints" : "boxes");
  const int64_t rows = single ? 1 : sides[1], points = posed ? sides[sides.size() - 2] : 0;
  for (int64_t row = 0; row < rows; ++row) {
    Instance found;
    if (!single) {
      found.score = floats(outputs, "scores")[row];
      if (!(found.score > 0) || found.score < threshold) continue;
      const float* corner = floats(outputs, "boxes") + row * 4;
      const float wide = float(image.cols), high = float(image.rows);
      auto at = [&](float value, float most) {
        return posed || !metadata::cut_boxes ? value : std::clamp(value, 0.f, most);
      };
      found.box = cv::Rect2f(cv::Point2f(at(place.x(corner[0]), wide), at(place.y(corner[1]), high)),
                             cv::Point2f(at(place.x(corner[2]), wide), at(place.y(corner[3]), high)));
      if (!posed && metadata::drop_empty && found.box.empty()) continue;
    }
    if (outputs.count("labels")) found.label = int(outputs.at("labels").GetTensorData<int64_t>()[row]);
    for (int64_t point = 0; point < points; ++point) {
      const float* at = floats(outputs, "keypoints") + (row * points + point) * 3;
      found.keypoints.push_back({place.x(at[0]), place.y(at[1]), at[2]});
      if (single) found.score += at[2] / points;
    }
    if (single) {
      std::vector<cv::Point2f> corners;
      for (const auto& point : found.keypoints) corners.emplace_back(point.x, point.y);
      const auto [left, right] = std::minmax_element(corners.begin(), corners.end(), [](auto& a, auto& b) { return a.x < b.x; });
      const auto [top, bottom] = std::minmax_element(corners.begin(), corners.end(), [](auto& a, auto& b) { return a.y < b.y; });
      found.box = cv::Rect2f(cv::Point2f(left->x, top->y), cv::Point2f(right->x, bottom->y));
    }
    if (outputs.count("masks")) {
      const auto* data = outputs.at("masks").GetTensorData<uint8_t>() + row * pixels.rows * pixels.cols;
      const cv::Mat whole(pixels.rows, pixels.cols, CV_8U, const_cast<uint8_t*>(data));
      cv::Mat part;
      whole(cv::Rect(0, 0, place.filled.width, place.filled.height)).convertTo(part, CV_32F);
      cv::resize(part, part, image.size(), 0, 0, cv::INTER_LINEAR);
      found.mask = part >= 127.5;
    }
    result.instances.push_back(std::move(found));
  }
  std::stable_sort(result.instances.begin(), result.instances.end(),
                   [](const Instance& a, const Instance& b) { return a.score > b.score; });
  return result;
}

cv::Mat draw(const cv::Mat& image, const Result& result) {
  cv::Mat canvas = image.clone();
  const int thick = std::max(1, int(std::lround(std::max(canvas.rows, canvas.cols) / 320.0)));
  auto tint = [&](const cv::Mat& where, const cv::Scalar& with) {
    cv::Mat painted = canvas * 0.55 + with * 0.45;
    painted.copyTo(canvas, where);
  };
  if (!result.segmentation.empty()) {
    for (int label = 0; label < int(metadata::classes.size()); ++label)
      if (metadata::classes[label] != "background") tint(result.segmentation == label, colour(label));
    return canvas;
  }
  for (size_t index = result.instances.size(); index-- > 0;) {
    const Instance& one = result.instances[index];
    const cv::Scalar with = colour(one.label >= 0 ? one.label : int(index));
    if (!one.mask.empty()) tint(one.mask, with);
    cv::rectangle(canvas, cv::Rect(one.box), with, thick, cv::LINE_AA);
    std::string words = one.label >= 0 ? metadata::classes[one.label] + " " : "";
    words += cv::format("%.2f", one.score);
    const cv::Point at(std::max(0, int(one.box.x)), std::max(12 * thick, int(one.box.y) - 3));
    cv::putText(canvas, words, at, cv::FONT_HERSHEY_SIMPLEX, 0.4 * thick, {0, 0, 0}, 3 * thick, cv::LINE_AA);
    cv::putText(canvas, words, at, cv::FONT_HERSHEY_SIMPLEX, 0.4 * thick, {255, 255, 255}, thick, cv::LINE_AA);
    auto point = [&](int which) { return cv::Point(int(one.keypoints[which].x), int(one.keypoints[which].y)); };
    for (const auto& bone : metadata::skeleton)
      if (!one.keypoints.empty()) cv::line(canvas, point(bone[0]), point(bone[1]), with, thick, cv::LINE_AA);
    for (int which = 0; which < int(one.keypoints.size()); ++which)
      cv::circle(canvas, point(which), 2 * thick, {255, 255, 255}, cv::FILLED, cv::LINE_AA);
  }
  return canvas;
}
