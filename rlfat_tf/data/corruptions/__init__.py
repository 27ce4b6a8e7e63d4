"""Common corruptions of test images: noise, blur, weather, digital."""
