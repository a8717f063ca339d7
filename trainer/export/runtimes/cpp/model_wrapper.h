// An exported model: load, predict, draw. What it takes and answers is in model_metadata.h, beside this file.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <map>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

struct Keypoint {
  float x, y;  // px of the image
  float score;
};

// One object. All px are the image's own.
struct Instance {
  cv::Rect2f box;                   // px
  float score = 0;                  // 0 to 1
  int label = -1;                   // into metadata::classes; -1 where nothing is classified (pose)
  cv::Mat mask;                     // image's size, 255 where the object is; empty where there are no masks
  std::vector<Keypoint> keypoints;  // pose
};

struct Result {
  std::vector<Instance> instances;  // best first
  cv::Mat segmentation;             // CV_8U, the image's size: class of each pixel; semantic segmentation only
};

class Model {
 public:
  // threads: how many may be used; 0 is onnxruntime's own choice. Throws Ort::Exception where the file can't be loaded.
  explicit Model(const std::string& path, int threads = 0);

  // image: BGR, 8 bit, as cv::imread gives it. box: where a top-down pose model looks; empty for the whole image.
  // Throws std::invalid_argument for an image of another kind.
  Result predict(const cv::Mat& image, float threshold, cv::Rect2f box = {});

 private:
  // Where an image lies in the input: px of the input = px of the image * scale + shift.
  struct Place {
    cv::Size image, filled;
    float scale_x, scale_y, shift_x, shift_y;
    float x(float value) const { return (value - shift_x) / scale_x; }
    float y(float value) const { return (value - shift_y) / scale_y; }
  };

  cv::Mat prepare(const cv::Mat& image, cv::Rect2f box, Place& place) const;
  std::map<std::string, Ort::Value> run(const cv::Mat& pixels);

  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR, "exported"};
  Ort::Session session_{nullptr};
};

// A copy of the image with the answer drawn on it.
cv::Mat draw(const cv::Mat& image, const Result& result);
