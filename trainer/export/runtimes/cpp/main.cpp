// predict <model.onnx> <image> [drawn.png] [threshold]: one line an object, x1 y1 x2 y2 in px.
#include <cstdlib>
#include <exception>
#include <iostream>
#include <opencv2/imgcodecs.hpp>

#include "model_metadata.h"
#include "model_wrapper.h"

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " <model.onnx> <image> [drawn.png] [threshold]\n";
    return 2;
  }
  const cv::Mat image = cv::imread(argv[2], cv::IMREAD_COLOR);
  if (image.empty()) {
    std::cerr << argv[2] << " can't be read as an image\n";
    return 1;
  }
  const float threshold = argc > 4 ? float(std::atof(argv[4])) : metadata::shown;
  Model model(argv[1]);
  const Result result = model.predict(image, threshold);
  for (const Instance& one : result.instances) {
    std::cout << (one.label >= 0 ? metadata::classes[one.label] : "-") << ' ' << one.score << ' ' << one.box.x << ' '
              << one.box.y << ' ' << one.box.x + one.box.width << ' ' << one.box.y + one.box.height;
    for (const Keypoint& point : one.keypoints) std::cout << ' ' << point.x << ' ' << point.y << ' ' << point.score;
    if (!one.mask.empty()) std::cout << ' ' << cv::countNonZero(one.mask);
    std::cout << '\n';
  }
  for (int label = 0; label < int(metadata::classes.size()) && !result.segmentation.empty(); ++label)
    std::cout << metadata::classes[label] << ' ' << cv::countNonZero(result.segmentation == label) << '\n';
  if (argc > 3) cv::imwrite(argv[3], draw(image, result));
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
